"""parts.py: the two servers that the crash harness kills: PostgreSQL and S3.

Both are private, children of the harness where they can be, and killed by
their pid.  What must survive survives: the data folder, the objects.
"""
import http.client
import json
import os
import signal
import subprocess
import sys
import time

import pgwire

HERE = os.path.dirname(os.path.abspath(__file__))
S3 = os.path.join(os.path.dirname(HERE), 's3')
sys.path.insert(0, S3)
import bucket                           # noqa: E402

KEY, SECRET, REGION, BUCKET = ('vfowner', 'vfownersecret', 'us-east-1',
                               'voiceframe')
DATABASE = 'voiceframe'
MARKERS = '.voiceframe_retention/'      # the extension's own objects
PATIENCE = float(os.environ.get('PATIENCE', '1'))   # with slow servers more
STALE = 1000                            # a lease this old, s, is given up


class Violation(Exception):
    """A promise is broken."""


class Late(Exception):
    """A condition that must come true did not."""


def wait_for(condition, what, seconds=30):
    """Time is for giving up, never for being right."""
    end = time.monotonic() + seconds * PATIENCE
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > end:
            raise Late('gave up waiting for ' + what)
        time.sleep(0.005)


def kill(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


class Cluster:
    """One PostgreSQL cluster, started and killed as a child of ours."""

    def __init__(self, directory, conf, library=None):
        self.dir, self.port, self.child = directory, 5432, None
        self.data = os.path.join(directory, 'data')
        self.log = os.path.join(directory, 'server.log')
        pg_config = os.environ.get(
            'PG_CONFIG', '/usr/lib/postgresql/15/bin/pg_config')
        self.bin = subprocess.check_output(
            [pg_config, '--bindir'], text=True).strip()
        self.library = library
        with open(os.path.join(directory, 'initdb.log'), 'w') as log:
            subprocess.check_call(
                [os.path.join(self.bin, 'initdb'), '-D', self.data, '-A',
                 'trust', '-U', 'postgres', '-E', 'UTF8', '--no-locale',
                 '-N'], stdout=log, stderr=log)
        lines = ["listen_addresses = ''", "fsync = off",
                 "unix_socket_directories = '%s'" % directory,
                 "port = %d" % self.port, "shared_buffers = 16MB",
                 "log_line_prefix = '%m [%p] %b %d '"] + conf
        self.configure(lines)

    def configure(self, lines):
        with open(os.path.join(self.data, 'postgresql.conf'), 'a') as f:
            f.write('\n'.join(lines) + '\n')

    def preload(self):
        """From the next start on, from the folder of another build if so."""
        self.configure(["shared_preload_libraries = 'voiceframe_retention'"])
        if self.library:
            self.configure(["dynamic_library_path = '%s:$libdir'"
                            % self.library])

    def running(self):
        return self.child is not None and self.child.poll() is None

    def spawn(self):
        with open(self.log, 'a') as log:
            self.child = subprocess.Popen(
                [os.path.join(self.bin, 'postgres'), '-D', self.data],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def connect(self, database=DATABASE, options='', timeout=60):
        return pgwire.Connection(self.dir, self.port, database, options,
                                 timeout * PATIENCE)

    def answers(self):
        # Processes of a killed postmaster may still hold its memory.
        if not self.running():
            self.spawn()
        try:
            self.connect('template1').close()
            return True
        except (pgwire.Broken, pgwire.SqlError):
            return False

    def start(self):
        wait_for(self.answers, 'PostgreSQL to start', 60)

    def kill(self, number):
        """SIGKILL, or SIGQUIT, which is pg_ctl stop -m immediate."""
        if self.running():
            self.child.send_signal(number)
            self.child.wait()

    def stop(self):
        self.kill(signal.SIGQUIT)

    def psql(self, *words):
        subprocess.run(
            [os.path.join(self.bin, 'psql'), '-XAtq', '-v',
             'ON_ERROR_STOP=1', '-h', self.dir, '-p', str(self.port), '-U',
             'postgres', '-d', DATABASE] + list(words),
            check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


class Peer:
    """The strict scripted S3 server; its objects survive SIGKILL."""

    faults_work = True

    def __init__(self, directory):
        self.dir = os.path.join(directory, 'peer')
        os.makedirs(self.dir)
        self.child, self.port, self.up = None, 0, False
        self.start()

    def read(self, name):
        with open(os.path.join(self.dir, name)) as f:
            return int(f.read())

    def start(self):
        for name in ('port', 'control_port', 'pid'):
            path = os.path.join(self.dir, name)
            if os.path.exists(path):
                os.unlink(path)
        with open(os.path.join(self.dir, 'log'), 'a') as log:
            self.child = subprocess.Popen(
                ['/usr/bin/python3', os.path.join(S3, 'peer.py'), '--dir',
                 self.dir, '--port', str(self.port), '--bucket', BUCKET,
                 '--keep', '--durable'],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for(lambda: os.path.exists(os.path.join(self.dir, 'port'))
                 or self.child.poll() is not None, 'the S3 peer')
        self.port = self.read('port')
        self.endpoint = 'http://127.0.0.1:%d' % self.port
        self.up = True

    def running(self):
        return self.up and self.child.poll() is None

    def kill(self):
        self.up = False
        self.child.kill()
        self.child.wait()

    def stop(self):
        self.child.terminate()
        self.child.wait()

    def ask(self, method, path, value=None):
        connection = http.client.HTTPConnection(
            '127.0.0.1', self.read('control_port'), timeout=60 * PATIENCE)
        connection.request(method, path, None if value is None
                           else json.dumps(value))
        answer = connection.getresponse()
        result = json.loads(answer.read())
        connection.close()
        if answer.status != 200:
            raise ValueError('the peer refuses: %s' % result)
        return result

    def put(self, keys):
        self.ask('POST', '/put', {'bucket': BUCKET, 'keys': keys})

    def cover(self, keys):
        """Delete as anybody would: a marker, where the bucket has versions."""
        self.ask('POST', '/remove', {'bucket': BUCKET, 'keys': keys})

    def remove(self, keys):
        self.ask('POST', '/remove', {'bucket': BUCKET, 'keys': keys,
                                     'versions': True})

    def keep_versions(self):
        self.ask('POST', '/set', {'versioning': {BUCKET: 'Enabled'}})

    def have(self, key):
        return bool(self.ask('POST', '/have',
                             {'bucket': BUCKET, 'keys': [key]}))

    def keys(self):
        found = self.ask('GET', '/store').get(BUCKET, [])
        return {k for k in found if not k.startswith(MARKERS)}

    def history(self):
        """How many versions and markers each key has."""
        found = self.ask('GET', '/history').get(BUCKET, {})
        return {k: n for k, n in found.items() if not k.startswith(MARKERS)}

    def faults(self, faults):
        self.ask('POST', '/faults', faults)

    def add_fault(self, fault):
        self.ask('POST', '/faults/add', fault)

    def held(self):
        return self.ask('GET', '/held')

    def release(self, name=None):
        self.ask('POST', '/release', name)

    def busy(self):
        return self.ask('GET', '/busy')

    def grow_old(self):
        """So old that the lease of whoever died counts as given up."""
        self.ask('POST', '/set', {'age': STALE})

    def keys_of(self, number):
        """The keys that the request of that number asked to delete."""
        found = []
        with open(os.path.join(self.dir, 'journal')) as f:
            for line in f:
                line = json.loads(line)
                if line['id'] == number and line['phase'] == 'before':
                    found = line.get('keys', [])
        return found


class Ceph:
    """A real gateway.  It alone is killed: the objects are in its OSD."""

    faults_work = False

    def __init__(self, directory):
        self.dir = os.path.join(directory, 'ceph')
        self.script('start')
        with open(os.path.join(self.dir, 'endpoint')) as f:
            self.endpoint = f.read().strip()
        self.client().call('PUT', '/' + BUCKET)

    def script(self, word):
        subprocess.run(['bash', os.path.join(S3, 'ceph.sh'), word, self.dir],
                       check=True, stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL)

    def client(self):
        return bucket.Client(self.endpoint, KEY, SECRET, REGION)

    def pid(self):
        with open(os.path.join(self.dir, 'run', 'rgw.pid')) as f:
            return int(f.read())

    def running(self):
        try:
            with open('/proc/%d/stat' % self.pid()) as f:
                return f.read().rpartition(')')[2].split()[0] != 'Z'
        except OSError:
            return False

    def kill(self):
        kill(self.pid(), signal.SIGKILL)
        wait_for(lambda: not self.running(), 'the gateway to die')

    def start(self):
        self.script('gateway')

    def stop(self):
        self.script('stop')

    def put(self, keys):
        bucket.put_many(BUCKET, keys, make_client=self.client)

    def remove(self, keys):
        keys = sorted(keys)
        for at in range(0, len(keys), 1000):
            status, _, body = self.client().delete_many(
                BUCKET, keys[at:at + 1000], quiet=True)
            if status != 200 or bucket.elements(body, 'Error'):
                raise ValueError('the store kept objects: %d' % status)

    def have(self, key):
        return self.client().request(
            'HEAD', '/%s/%s' % (BUCKET, key))[0] == 200

    def keys(self):
        return {k for k in self.client().list(BUCKET)
                if not k.startswith(MARKERS)}

    def history(self):
        return dict.fromkeys(self.keys(), 1)

    def grow_old(self):
        """Nothing there grows older than it is: the markers go."""
        self.remove([k for k in self.client().list(BUCKET)
                     if k.startswith(MARKERS)])

    def faults(self, faults):
        pass

    def release(self, name=None):
        pass

    def busy(self):
        return 0
