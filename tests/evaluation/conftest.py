from tiny_setup import backbone, checkpoint, data_folder

__all__ = ["backbone", "checkpoint", "data_folder"]
