"""steady.py: connections that outlive the server's restarts."""
import parts
import pgwire


def is_gone(fault):
    """Ended by us or a crash; or not yet up again."""
    return isinstance(fault, pgwire.Broken) or \
        fault.fatal or fault.state in ('57P01', '57P02', '57P03')


class Steady:
    """Says again what a crash cut short: a statement must bear that."""

    def __init__(self, cluster):
        self.cluster, self.conn = cluster, None
        self.connect()

    def connect(self):
        parts.wait_for(self.try_connect, 'the server to accept', 120)

    def try_connect(self):
        try:
            self.conn = self.cluster.connect(timeout=1200)
            return True
        except (pgwire.Broken, pgwire.SqlError) as fault:
            if not is_gone(fault):
                raise
            return False

    @property
    def pid(self):
        return self.conn.pid

    def once(self, sql):
        """False if it was cut short."""
        try:
            self.conn.query(sql)
            return True
        except (pgwire.Broken, pgwire.SqlError) as fault:
            if not is_gone(fault):
                raise
        self.conn.close()
        self.connect()
        return False

    def query(self, sql):
        while True:
            try:
                return self.conn.query(sql)
            except (pgwire.Broken, pgwire.SqlError) as fault:
                if not is_gone(fault):
                    raise
            self.conn.close()
            self.connect()

    def column(self, sql):
        return [r[0] for r in self.query(sql)]

    def close(self):
        self.conn.close()
