"""One file a family of backbones."""
