"""Image and video files to pixels and back."""
