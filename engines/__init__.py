"""Run an exported model on a device: manifest, preprocessing and one backend per runtime.

The leaf of the import graph: nothing here imports train, calib or deploy.
"""
