"""D-Score of networks: deleting parts, shifting images, and pictures of both."""
