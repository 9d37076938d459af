"""The subcommands of `hf-emo-dist` that need several rooms; each module offers ``add_arguments(parser)`` and ``run(args)``."""
