"""The drawings of the paper's figures 1 to 3, from what the code really does.

Arrays and networks in, figures and the numbers beside them out; nothing here opens a file.
"""
