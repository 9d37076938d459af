"""`python -m hf_emo_dist` is the console command `hf-emo-dist`."""

import sys

if __name__ == "__main__":
    try:
        from .commands.main import main

        status = main()
    except KeyboardInterrupt:  # while it was loaded
        sys.stderr.write("stopped\n")
        status = 130
    sys.exit(status)
