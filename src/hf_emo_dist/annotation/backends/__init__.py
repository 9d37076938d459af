"""The services that answer, one file each, behind the protocol `annotation.types.Backend`."""
