"""What all protocols share: the program, the services, the archives, and the end of all of them."""

import hashlib
import shutil

from pathlib import Path

import events
import oracle
from ports import free_port
from product import Pulsehub
from proxy import Proxy
from services import MariaDB, Pulsar, Redis

# Archives are made once and used by every protocol and round: what differs is when things break.
ARCHIVES = 20
HERE = Path(__file__).resolve().parent


class Harness:
    def __init__(self, binary, work, short):
        self.binary, self.work, self.short = binary, work, short
        self.services = {}
        self.proxies = {}
        self.archives = {}

    def version(self):
        """Tells this program and what tries it from every other: rounds of another one prove nothing of it."""
        digest = hashlib.sha256(self.binary.read_bytes())
        tools = set(HERE.glob("*.py")) - set(HERE.glob("selftest*.py"))
        for path in sorted([*tools, oracle.PLACE]):
            digest.update(path.read_bytes())
        return digest.hexdigest()[:16]

    def archive(self, draw, deliveries=None, **shape):
        """An archive and the counters that it comes to."""
        deliveries = deliveries or (20_000 if self.short else 100_000)
        seed = draw.randrange(2 if self.short else ARCHIVES)
        key = (seed, deliveries, *sorted(shape.items()))
        if key not in self.archives:
            directory = self.work / "archives" / "-".join(str(part) for part in (seed, deliveries, len(self.archives)))
            archive = events.write(directory, seed, deliveries, **shape)
            self.archives[key] = archive, oracle.expected(archive.files)
        return self.archives[key]

    def make(self, directory):
        """An empty directory."""
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        return directory

    def service(self, name, kind):
        if name not in self.services:
            service = kind(self.make(self.work / "services" / name))
            service.start()
            self.services[name] = service
        return self.services[name]

    def redis(self):
        return self.service("redis", Redis)

    def pulsar(self):
        return self.service("pulsar", lambda directory: Pulsar(directory, free_port()))

    def mariadb(self):
        return self.service("mariadb", MariaDB)

    def proxy(self, name):
        """The way to a service that can be broken; what dials the service's own port does not notice."""
        if name not in self.proxies:
            service = getattr(self, name)()
            if name == "pulsar":
                # Its lookups send clients to a port that was known before.
                self.proxies[name] = Proxy(service.proxied_port, service.proxy_port)
            else:
                self.proxies[name] = Proxy(service.port)
        return self.proxies[name]

    def end_round(self):
        """A round that broke off leaves no process that works into the next one's stores, and no service down."""
        for product in list(Pulsehub.processes):
            product.kill()
        for service in self.services.values():
            if service.alive():
                service.resume()
            else:
                service.restart(180)

    def close(self):
        for product in list(Pulsehub.processes):
            product.kill()
        for proxy in self.proxies.values():
            proxy.close()
        for service in self.services.values():
            service.stop()
