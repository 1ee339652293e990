"""Networks for other software: ONNX, torch.export, and packages of BioImage.IO.

What is written takes grey values in [0, 1] and gives the probabilities of all classes: what
training subtracted from the input, and the softmax or sigmoid, are inside.
"""
