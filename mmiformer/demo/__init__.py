"""What `tools/demo.py` does: the steps from nothing to two trained networks, and the report on them."""
