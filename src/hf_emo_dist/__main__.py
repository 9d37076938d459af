"""`python -m hf_emo_dist` is the console command `hf-emo-dist`."""

import sys

from .commands.main import main

if __name__ == "__main__":
    sys.exit(main())
