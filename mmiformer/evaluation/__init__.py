"""What an evaluation measures beyond the toolboxes' metrics, and its figures as a table. Needs a toolbox."""
