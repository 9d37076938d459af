"""Audio-language models as extra annotators: who answers, how they are asked, and every paid reply kept once."""
