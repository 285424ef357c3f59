import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg

from federated import ByteLedger, LedgerRow, MeteredGrid
from federated.ledger import content_bytes


def echo_app():
    app = ClientApp()

    @app.train()
    def train(message, context):
        metrics = MetricRecord({"num-examples": 1 + context.node_config["partition-id"]})
        return Message(RecordDict({"arrays": message.content["arrays"], "metrics": metrics}), reply_to=message)

    return app


def test_content_bytes_are_flowers_own_counts():
    arrays, config = ArrayRecord([torch.zeros(3, 5).numpy()]), ConfigRecord({"name": "dm", "seed": 1})
    metrics = MetricRecord({"loss": 0.5})
    content = RecordDict({"arrays": arrays, "config": config, "metrics": metrics})
    assert content_bytes(content) == arrays.count_bytes() + config.count_bytes() + metrics.count_bytes()
    assert arrays.count_bytes() > 3 * 5 * 4


def test_fedavg_is_metered_without_knowing_it(new_grid):
    ledger = ByteLedger()
    arrays = ArrayRecord({"weight": torch.ones(1000)})
    strategy = FedAvg(fraction_evaluate=0.0)
    strategy.start(MeteredGrid(new_grid(echo_app(), 3), ledger), arrays, num_rounds=2, train_config=ConfigRecord())
    down = arrays.count_bytes() + ConfigRecord({"server-round": 1}).count_bytes()
    up = arrays.count_bytes() + MetricRecord({"num-examples": 1}).count_bytes()
    rows = sorted(ledger.rows, key=lambda row: (row.server_round, row.node_id))
    assert rows == [
        LedgerRow(server_round=number, node_id=node_id, action="train", down=down, up=up)
        for number in (1, 2)
        for node_id in (100, 101, 102)
    ]
    assert (ledger.down(), ledger.up()) == (6 * down, 6 * up)
    assert (ledger.down(2), ledger.up(2), ledger.up(3)) == (3 * down, 3 * up, 0)


def test_errors_and_silence_cost_nothing_up(new_grid):
    def fail(reply):
        raise RuntimeError("out of memory")

    grid = new_grid(echo_app(), 3, {100: fail})
    grid.silent.add(101)
    ledger = ByteLedger()
    content = RecordDict({"arrays": ArrayRecord([torch.zeros(4).numpy()])})
    MeteredGrid(grid, ledger).send_and_receive([Message(content, node_id, "train") for node_id in (100, 101, 102)])
    assert [(row.server_round, row.node_id, row.up > 0) for row in ledger.rows] == [
        (0, 100, False),
        (0, 101, False),
        (0, 102, True),
    ]


def test_pushing_and_pulling_counts_the_same_as_sending_and_receiving(new_grid):
    messages = [
        Message(
            RecordDict({"arrays": ArrayRecord([torch.zeros(9).numpy()]), "config": ConfigRecord({"server-round": 4})}),
            node_id,
            "train",
        )
        for node_id in (100, 101)
    ]
    at_once, in_two = (MeteredGrid(new_grid(echo_app(), 2), ByteLedger()) for _ in range(2))
    at_once.send_and_receive(messages)
    replies = list(in_two.pull_messages(in_two.push_messages(messages)))
    assert len(replies) == 2
    assert at_once.ledger.rows == in_two.ledger.rows
    assert {row.server_round for row in in_two.ledger.rows} == {4}


def test_a_metered_grid_is_the_grid_it_wraps(new_grid):
    grid = new_grid(echo_app(), 2)
    metered = MeteredGrid(grid, ByteLedger())
    assert metered.get_node_ids() == [100, 101]
    assert [node.node_id for node in metered.get_nodes()] == [100, 101]
    message = metered.create_message(RecordDict(), "train", 100, "group")
    assert (message.metadata.dst_node_id, message.metadata.group_id) == (100, "group")
