"""peer_faults.py: the script of the strict S3 peer: which request meets which
fault, and who waits for a release.

A fault is a JSON object.  The first one in the list that matches a request
and is not used up applies to it; so faults without "match" happen in order.

  name     what `release` and `held` call it
  match    {"verb": "POST", "query": "delete", "bucket": B, "key": PREFIX,
           "copy": true}; "key" is the object's, or any of those in a ?delete;
           "without" names a parameter that the query has not; "copy": it has a
           copy's source
  skip     let that many matching requests pass first (0)
  times    how many it applies to (1); 0 for ever

What happens, any of:

  pass         true: nothing (takes a place in the order)
  status, code, message, headers, body
               answer this and do not act; with "act": true act all the same
  redirect     301, 302, 303, 307 or 308, with "region" and "location"; a
               client that follows it shows where that leads
  error_in_200 a code: status 200, an Error document, nothing done
  garbage      true: status 200, no XML
  xml          status 200 and a hostile document of peer_xml.py, by its name,
               which claims that all was deleted; nothing done
  key_errors   {key prefix: code} in a DeleteResult; those are not deleted
  key_message  true: their Message names key and bucket, as some stores do
  omit         [key prefix]: neither deleted nor answered for
  extra        [key]: answered for though never sent
  stall        true: never answer, never act; a release closes the connection
  hold         true: wait for a release, then act and answer
  late         true: act, wait for a release, then answer
  delay        seconds between acting and answering
  reset        true: act, then reset the connection instead of answering
  cut          close after N bytes of the answer, its head included (so 0 is
               no answer); negative: that many bytes before its end
  chunked      N: Transfer-Encoding chunked, N bytes a chunk
  no_length    true: the answer tells no length and ends with the connection
  slow         N bytes a second
  endless      true: chunks without end, until the client leaves
  flood        N: a good DeleteResult, not acted on, in a body of N bytes
               with its length told; sent piece by piece, never in memory
  flood_head   N: the same document behind a head of N bytes
  stop_at      send N bytes of the answer, as cut counts, then no more; held
               as "stop_at" until a release or the client leaves
  cut_request  close after N bytes of the request were read, wherever that is
               in head or body; such a fault meets any request, has no "match"
               and no other effect
  date_offset  seconds added to the Date header
"""
import threading
import time

KNOWN = set('''name match skip times pass status code message headers body act
redirect region location error_in_200 garbage xml key_errors key_message omit
extra stall hold late delay reset cut chunked no_length slow endless flood flood_head
stop_at cut_request date_offset'''.split())


class Fault(dict):
    """One fault, or {} for none."""

    def key_error(self, key):
        for prefix, code in self.get('key_errors', {}).items():
            if key.startswith(prefix):
                return code
        return None

    def omits(self, key):
        return any(key.startswith(p) for p in self.get('omit', []))

    def matches(self, request):
        if 'cut_request' in self:
            return request is None
        if request is None:
            return False
        match = self.get('match', {})
        keys = request.keys if request.keys is not None else [request.key]
        return (match.get('verb', request.method) == request.method
                and match.get('bucket', request.bucket) == request.bucket
                and ('query' not in match or match['query'] in request.query)
                and match.get('without') not in request.query
                and match.get('copy', False) <= bool(
                    request.header('x-amz-copy-source'))
                and ('key' not in match
                     or any(k.startswith(match['key']) for k in keys)))


class Script:
    def __init__(self):
        self.condition = threading.Condition()
        self.faults, self.held, self.stopping = [], {}, False

    def load(self, faults, append=False):
        if isinstance(faults, dict):
            faults = [faults]
        for f in faults:
            unknown = set(f) - KNOWN
            if unknown:
                raise ValueError('unknown in a fault: %s' % sorted(unknown))
        new = [[Fault(f), f.get('skip', 0), f.get('times', 1)]
               for f in faults]
        with self.condition:
            self.faults = self.faults + new if append else new

    def cuts_requests(self):
        with self.condition:
            return any('cut_request' in f for f, _, _ in self.faults)

    def rest(self):
        with self.condition:
            return [dict(f, skip=skip, times=times)
                    for f, skip, times in self.faults]

    def take(self, request):
        """Its fault; of a request that is not read yet (None): a cut."""
        with self.condition:
            for entry in self.faults:
                fault, skip, times = entry
                if not fault.matches(request):
                    continue
                if skip > 0:
                    entry[1] -= 1
                    continue
                if times == 1:
                    self.faults.remove(entry)
                elif times > 1:
                    entry[2] -= 1
                return fault
        return Fault()

    def wait(self, number, fault, what, gone=lambda: False):
        """Until released, or stopping, or the client left (if that counts).
        True if released."""
        with self.condition:
            me = {'id': number, 'name': fault.get('name', ''), 'what': what,
                  'since': time.time(), 'released': False}
            self.held[number] = me
            self.condition.notify_all()
            try:
                while not (me['released'] or self.stopping or gone()):
                    self.condition.wait(0.05)
                return me['released']
            finally:
                del self.held[number]

    def release(self, name=None):
        with self.condition:
            found = [h for h in self.held.values()
                     if name in (None, h['name']) and not h['released']]
            for h in found:
                h['released'] = True
            self.condition.notify_all()
            return len(found)

    def waiting(self):
        with self.condition:
            return [dict(h) for h in self.held.values() if not h['released']]
