"""(being written)"""


def metrics(table, head):
    return {}
