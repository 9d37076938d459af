"""What votes drawn from a read-out say, beside the read-out itself."""
