"""`make map`: a tile server over the published tables, and one page that shows them and whether to trust them."""
