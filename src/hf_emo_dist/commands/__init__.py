"""The subcommands of `hf-emo-dist`, one module each, and all parsing of arguments."""
