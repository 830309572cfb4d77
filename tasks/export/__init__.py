"""Export: a trained model as a folder for use elsewhere: merged, cast, as ONNX, on the Hugging Face hub.

May import results and what is below it."""
