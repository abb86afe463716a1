"""reaped.py: what the deletion of orphans may have done, and must have done.

A trigger on the outbox writes down when keys were queued, claimed and settled.
The scripted peer's journal tells when each object was looked at and when the
request to delete it came; of another store only the claim is known, so what
comes between claim and settling may go either way there.

Of an object that is gone the model asks for a delete that could not have known
better: nothing was uploaded before the look at it ended, no row named it.  On
a store that looks at ETags an upload of other bytes is never lost.  Of a key
that was queued it asks what became of it.
"""
import bisect
import collections
import json
import os

from parts import Violation

ENDLESS = float('inf')
LEDGER = '''
CREATE TABLE public.ledger (n bigint GENERATED ALWAYS AS IDENTITY,
    at timestamptz DEFAULT clock_timestamp(), what text, scan bigint,
    those text[]);
CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.claimed_at IS NULL AND NEW.orphan_scan IS NOT NULL THEN
            INSERT INTO public.ledger (what, scan, those)
                VALUES ('queued', NEW.orphan_scan, NEW.keys);
        END IF;
    ELSIF TG_OP = 'UPDATE' AND NEW.state = 'claimed' THEN
        IF NEW.next_attempt_at > OLD.next_attempt_at THEN
            INSERT INTO public.ledger (what, scan, those)
                VALUES ('claimed', NEW.orphan_scan, NEW.keys);
        END IF;
    ELSIF OLD.state = 'claimed' THEN
        INSERT INTO public.ledger (what, scan, those)
            VALUES ('settled', OLD.orphan_scan, OLD.keys);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON vf_outbox
    FOR EACH ROW EXECUTE FUNCTION public.note();
'''

Queued = collections.namedtuple('Queued', 'at scan')
Upload = collections.namedtuple('Upload', 'began ended body')
# A scan that came to an end; a call for deletion, and what was old for it.
Scan = collections.namedtuple('Scan', 'id began ended')
Call = collections.namedtuple('Call', 'began boundary')


class Ledger:
    def __init__(self, model):
        self.model, self.read_up_to = model, 0
        self.queued = collections.defaultdict(list)
        self.windows = collections.defaultdict(list)    # [claimed, settled]
        self.purged = set()             # claimed as what rows had named
        self.uploads = collections.defaultdict(list)
        self.filled = ()                # keys that were there at first
        self.kept_at = {}               # key -> when a row that stays was there
        self.named = set()              # by any row, at any time
        self.scans, self.calls = {}, []
        self.seen, self.ever = collections.Counter(), set()

    # What was written down

    def read(self):
        rows = self.model.admin.query(
            'SELECT n, extract(epoch FROM at), what, scan, unnest(those)'
            ' FROM public.ledger WHERE n > %d ORDER BY n' % self.read_up_to)
        for n, at, what, scan, key in rows:
            self.read_up_to = int(n)
            if scan is None:
                if what == 'claimed':
                    self.purged.add(key)
            elif what == 'queued':
                self.queued[key].append(Queued(float(at), int(scan)))
            elif what == 'claimed':
                self.windows[key].append([float(at), ENDLESS])
            elif self.windows[key]:
                self.windows[key][-1][1] = float(at)

    def deletions(self):
        """key -> (before the look, after it, end of the delete)."""
        if self.model.honours:
            return self.from_journal()
        return {key: [(at, at, end) for at, end in windows]
                for key, windows in self.windows.items()}

    def from_journal(self):
        """Times of the peer: a request was acted on between two of them."""
        found, ended = collections.defaultdict(list), {}
        looks = collections.defaultdict(list)
        with open(os.path.join(self.model.store.dir, 'journal')) as f:
            lines = [json.loads(line) for line in f]
        for line in lines:
            if line['phase'] == 'after':
                ended[line['id']] = line['time']
        for line in lines:
            if line['phase'] != 'before':
                continue
            end = ended.get(line['id'], ENDLESS)
            if line['verb'] == 'HEAD' and line['key'] in self.queued:
                looks[line['key']].append((line['time'], end))
            keys = line.get('keys') or (
                [line['key']] if line['verb'] == 'DELETE' else [])
            for key in keys:
                if looks.get(key):
                    found[key].append(looks[key][-1] + (end,))
        return found

    # What may have been done

    def stale(self, key, q):
        """Uploads that the older of the scans cannot have seen."""
        return [u for u in self.uploads[key]
                if u.began > self.scans[q.scan].ended]

    def unseen(self, key, q):
        """Uploads that it may not have seen."""
        return [u for u in self.uploads[key]
                if u.ended > self.scans[q.scan].began]

    def is_excused(self, key, deletions):
        """Is there a delete that could not know better?"""
        for before, looked, end in deletions:
            queued = [q for q in self.queued[key] if q.at <= before]
            if not queued or any(u.began >= end for u in self.uploads[key]):
                continue
            stale = self.stale(key, queued[-1])
            known = {b'object'} | {u.body for u in self.uploads[key]
                                   if u not in stale}
            if any(u.ended < before for u in stale) or \
                    self.kept_at.get(key, ENDLESS) < looked:
                continue
            if self.model.honours and any(u.body not in known
                                          for u in stale):
                continue
            return True
        return False

    def check_gone(self, held):
        deletions, self.seen = self.deletions(), collections.Counter()
        for key, w in self.model.written.items():
            if key in held or w.deleted or key in self.purged:
                continue
            if not self.queued.get(key):
                raise Violation('P3: gone, and never queued: %r' % key)
            if not self.is_excused(key, deletions.get(key, ())):
                raise Violation(
                    'P3: gone, though it was uploaded again or named before'
                    ' its delete: %r, queued %s, deleted %s, uploads %s,'
                    ' named %s' % (key, self.queued[key], deletions.get(key),
                                   self.uploads[key],
                                   self.kept_at.get(key)))
            self.seen['orphans gone'] += 1

    def check_queued(self):
        """What was queued was an orphan by all that the call could know."""
        starts = [c.began for c in self.calls]
        for key, entries in self.queued.items():
            for q in entries:
                call = self.calls[bisect.bisect_right(starts, q.at) - 1]
                fault = self.no_orphan(key, q, call)
                if fault:
                    raise Violation('P3: queued, and %s: %r, %s' % (
                        fault, key, q))

    def no_orphan(self, key, q, call):
        older = self.scans[q.scan]
        if not key.startswith(self.model.prefixes):
            return 'outside orphan_prefixes'
        if self.kept_at.get(key, ENDLESS) < call.began:
            return 'named'
        if key not in self.filled and \
                len(self.stale(key, q)) == len(self.uploads[key]):
            return 'not seen by two scans'
        newer = [s for s in self.scans.values()
                 if s.id > q.scan and s.ended < call.began]
        if any(u.ended < s.began for u in self.stale(key, q) for s in newer):
            return 'uploaded between the scans'
        if any(u.began > call.boundary + 1 and u.ended < older.began
               for u in self.uploads[key]):
            return 'fresh'
        return None

    # What must have been done

    def fates(self):
        """key -> states and codes of the entries that are left."""
        found = collections.defaultdict(list)
        for key, state, code in self.model.admin.query(
                'SELECT unnest(keys), state, last_error_code FROM vf_outbox'
                ' WHERE orphan_scan IS NOT NULL'):
            found[key].append((state, code))
        return found

    def check_fates(self, held):
        """When nothing waits any more."""
        fates = self.fates()
        for key, entries in self.queued.items():
            q = entries[-1]
            uploads, there = self.unseen(key, q), key in held
            for state, code in fates.get(key, [('confirmed', None)]):
                # What is gone is listed, and queued, until the next scan.
                name = (code or state) + (
                    '' if there or not code else ', gone already')
                self.seen[name] += 1
                self.ever.add(name)
                if (state, code) == ('cancelled', 'OrphanChanged'):
                    fault = there and not self.unseen(key, entries[0])
                elif (state, code) == ('cancelled', 'Referenced'):
                    fault = key not in self.named
                elif state == 'confirmed':
                    fault = there and not any(
                        u.ended > q.at for u in uploads)
                else:
                    fault = True
                if fault:
                    raise Violation('P4: %s %s is wrong: %r, %s, uploads %s'
                                    % (state, code, key, entries, uploads))
            if there and not uploads and key not in self.named:
                raise Violation('P2: an orphan was queued and is there: %r, %s'
                                % (key, entries))
        if set(fates) - set(self.queued):
            raise Violation('P4: never queued, and accounted for: %r' %
                            sorted(set(fates) - set(self.queued))[:3])

    def check_versions(self, held):
        """All that was ever written is there, and a marker where it is gone."""
        history = self.model.store.history()
        for key in self.queued:
            if key in self.purged or self.model.written[key].deleted:
                continue
            wanted = (key in self.filled) + len(self.uploads[key]) \
                + (key not in held)
            if history.get(key, 0) < wanted:
                raise Violation('P3: %r has %d versions of %d' % (
                    key, history.get(key, 0), wanted))
            self.seen['versions kept'] += wanted
