"""Networks for use: folded, classifying images, exported."""
