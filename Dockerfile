# The page in a container. README.md says how to build and run it.
FROM python:3.11-slim

# Where pip finds a torch without CUDA. Left empty, torch comes with CUDA, which is of use on a GPU only.
ARG TORCH_INDEX=""

RUN useradd --create-home --uid 1000 pixelgaze
WORKDIR /app

COPY requirements.txt ./
RUN if [ -n "$TORCH_INDEX" ]; then \
      pip install --no-cache-dir --index-url "$TORCH_INDEX" "$(grep '^torch==' requirements.txt)"; \
    fi && \
    pip install --no-cache-dir -r requirements.txt

COPY app.py ./
COPY models ./models
COPY viz ./viz
COPY assets ./assets

# The user may write into their home only: recordings are kept in the cache folder, a volume if they are to outlive the container.
USER pixelgaze
ENV PIXELGAZE_CACHE=/home/pixelgaze/cache PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/gradio_api/app_id', timeout=4)"]
ENTRYPOINT ["python", "app.py", "--host", "0.0.0.0", "--port", "7860"]
