# The image of all services of docker-compose.yml.
FROM python:3.12-slim

# The compiler makes the kernels that CPU training is fast with.
RUN apt-get update && apt-get install --yes --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*

# Any user may run it: .env says which one.
RUN mkdir --parents --mode=1777 /home/nas
ENV HOME=/home/nas USER=nas LOGNAME=nas

# Dependencies come before the code, so that a change of the code downloads nothing again.
WORKDIR /nas
COPY pyproject.toml ./
RUN python -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; extras = project['optional-dependencies']; print(*project['dependencies'], *extras['postgres'], *extras['cluster'], sep='\n')" > requirements.txt
RUN pip install --no-cache-dir --requirement requirements.txt

COPY setup.py README.md LICENSE ./
COPY nas nas
COPY search_spaces search_spaces
RUN pip install --no-cache-dir --no-deps .
