"""The static protocol: a layer from a release to a published version, and back."""
