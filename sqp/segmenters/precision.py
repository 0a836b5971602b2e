"""In which precision a segmenter's image encoder may run."""

PRECISIONS = ("float32", "bfloat16")
