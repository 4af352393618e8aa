"""Video: decode, transform and encode frames; sound and all other streams are kept. Needs the extra `video`."""
