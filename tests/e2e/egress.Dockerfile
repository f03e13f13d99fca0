# The stand-in for wrangler's egress sidecar, for engines that can't pull the real one.
FROM debian:trixie-slim
RUN apt-get update && apt-get install --yes --no-install-recommends python3
COPY egress.py /egress.py
ENTRYPOINT ["python3", "/egress.py"]
