"""From a list of ids to trainable data on S3: catalog, photos, split, shards, upload."""

import pyarrow as pa

pa.set_memory_pool(pa.system_memory_pool())  # Arrow's own pool keeps what it once had
