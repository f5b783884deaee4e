"""Pictures, videos and annotations: read, checked, changed, made."""
