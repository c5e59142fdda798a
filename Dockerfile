# One image for every service; compose.yaml says which one a container runs.
FROM python:3.11-slim

RUN useradd --create-home shop && install --directory --owner=shop /state
WORKDIR /app
COPY pyproject.toml hatch_build.py README.md LICENSE constraints.txt ./
COPY harness harness
COPY scenarios scenarios
COPY reports reports
COPY ordershop ordershop
RUN pip install --no-cache-dir -c constraints.txt .

USER shop
VOLUME /state
ENTRYPOINT ["python", "-m"]
CMD ["ordershop", "up"]
