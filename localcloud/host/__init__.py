"""What keeps the cloud alive on this machine: its home, its processes, its S3 server, its cores."""
