"""Running a model: on images of any size, on files, refined, optimised."""
