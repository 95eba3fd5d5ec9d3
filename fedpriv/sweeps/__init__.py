"""Many runs from one command: their parent in MLflow, what is done already, what goes on, how far it is."""
