"""Write the simulated corpus: `hf-emo-dist simulate`.

python dataset_scripts/simulated.py my_simulated_corpus --num_utterances 800 --num_speakers 20
"""

import sys

from hf_emo_dist.commands.main import main

if __name__ == "__main__":
    sys.exit(main(["simulate", *sys.argv[1:]]))
