"""What is measured. Each file with a `scenario` is one; `catalog.py` finds them; `shop/` is what they run on."""
