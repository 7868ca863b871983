"""Where the files of messages lie: a folder, or a bucket of an S3-compatible store."""
