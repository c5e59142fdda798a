"""The shop over HTTP: shoppers, the load they make, and the books afterwards."""
