"""What runs at every client."""

from federated import make_client_app
from federated_digits import task

app = make_client_app(task.partition, network=task.NETWORK)
