"""The embedded cluster: gives the services on one machine what Kubernetes gives them."""
