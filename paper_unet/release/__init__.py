"""The authors' software of 2015: its network from Caffe, the procedure of its driver, its files."""
