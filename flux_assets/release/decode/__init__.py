"""A release file as a stream of audited Arrow batches, decoded exactly as COPY would read it."""
