"""The web workers: HTTP in, mutations to the registry out; desired and actual state shown from memory."""
