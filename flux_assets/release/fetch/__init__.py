"""Getting the files of a release, from a folder or over a network, into a verified local copy."""
