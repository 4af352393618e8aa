"""The same job anywhere: in this process, in many, by Ray."""
