# Image of the inference server, without package manager, compiler, shell or training code.
# Deployments pin the base image by digest: --build-arg BASE=debian@sha256:... (scripts/deploy-config).
ARG BASE=debian:trixie-slim
FROM ${BASE} AS build
RUN apt-get update && apt-get install --yes --no-install-recommends binutils ca-certificates python3 python3-venv
# For the packages of an extra, use its lock file: --build-arg LOCK=requirements-trace.lock.
ARG LOCK=requirements.lock
COPY ${LOCK} /build/requirements.lock
RUN python3 -m venv /build/venv \
 && /build/venv/bin/pip install --no-cache-dir --no-compile --no-deps --require-hashes \
      --target /opt/site --only-binary :all: -r /build/requirements.lock
# Remove the parts of onnxruntime that inference does not need: converters, quantization, example models, and the library
# for C programs (the Python extension contains its own copy). Only these parts use flatbuffers.
RUN cd /opt/site && rm -rf bin onnxruntime/tools onnxruntime/transformers onnxruntime/quantization onnxruntime/datasets \
      onnxruntime/backend onnxruntime/capi/libonnxruntime.so* flatbuffers*
# Remove headers, type stubs, tests, tqdm's progress bars outside terminals, and debug symbols (14 of uvloop's 16 MB).
# numpy's libraries are not stripped: their packager rewrote them, and stripping would break them.
RUN cd /opt/site && rm -rf numpy/f2py numpy/_core/include numpy/_core/lib numpy/random/lib numpy/_core/_simd.*.so \
      numpy/_core/*_tests.*.so tqdm/contrib tqdm/keras.py tqdm/tk.py tqdm/gui.py tqdm/notebook.py tqdm/rich.py tqdm/dask.py \
 && find . -name '*.pyi' -delete -o -name '*.px[di]' -delete -o -name '*.pyx' -delete -o -name '*.a' -delete -o -name '*.h' -delete \
 && strip --strip-unneeded uvloop/*.so httptools/parser/*.so zttp/*.so google/_upb/*.so msgspec/*.so nanoarrow/*.so \
      arro3/*/*.so backports/zstd/*.so
COPY scripts/image-root /build/
COPY server /build/app/server
COPY models /build/app/models
RUN /build/image-root /image /opt/site \
 && cp -r /build/app /image/app \
 && python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash -s /image -p / /image/usr/lib /image/opt/site /image/app

FROM scratch
COPY --from=build /image /
ENV PYTHONPATH=/opt/site PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 LIFEBOAT_HOST=0.0.0.0 PORT=8080
WORKDIR /app
USER 65532:65532
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s CMD ["/usr/bin/python3", "-m", "server.http.healthcheck"]
ENTRYPOINT ["/usr/bin/python3", "-m", "server"]
