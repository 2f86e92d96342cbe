"""From a list of ids to trainable data on S3: catalog, photos, split, shards, upload."""
