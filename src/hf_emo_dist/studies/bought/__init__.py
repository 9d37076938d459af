"""Bought: a page on which the answers of a panel are heard, read and compared with what people said, clip by clip."""
