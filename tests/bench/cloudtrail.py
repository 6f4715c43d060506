"""Invented CloudTrail objects: python3 cloudtrail.py FOLDER [--objects 150] [--events 1000] [--days 1]

They are like those of an organisation of a few accounts: people in sessions of roles, services and workloads, most
calls from few of them, of many kinds and with parameters of their own; an object holds five minutes of one account and
region. What tells events apart (ids, keys, addresses) is as random as in real ones, so that sizes can be believed. The
same arguments give the same objects.
"""

import argparse
import gzip
import itertools
import json
import os
import random
import time

REGIONS = ["us-east-1"] * 6 + ["eu-central-1"] * 3 + ["us-west-2"] * 2 + ["ap-southeast-2"]
AGENTS = [
    *(f"aws-cli/2.{n}.{n % 7} md/awscrt#0.2{n % 9} ua/2.0 os/linux#5.10 md/arch#x86_64 lang/python#3.11.{n % 9} "
      f"md/pyimpl#CPython cfg/retry-mode#standard command/s3.cp" for n in range(9, 21)),
    *(f"Boto3/1.34.{n} md/Botocore#1.34.{n} ua/2.0 os/linux#6.1 lang/python#3.12 md/pyimpl#CPython"
      for n in range(20, 60)),
    *(f"aws-sdk-go-v2/1.2{n}.0 os/linux lang/go#1.2{n % 3} md/GOOS#linux md/GOARCH#amd64 api/s3#1.5{n}.0"
      for n in range(10)),
    *(f"APN/1.0 HashiCorp/1.0 Terraform/1.{n}.5 (+https://www.terraform.io) aws-sdk-go/1.4{n}.9 (go1.2{n % 3}; linux)"
      for n in range(9)),
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/121.0 Safari/537.36",
    "AWS Internal", "S3Console/0.4, aws-internal/3 aws-sdk-java/1.12.488 Linux/5.10 OpenJDK_64-Bit_Server_VM/25.372",
]
SERVICES = ["ec2", "lambda", "cloudformation", "autoscaling", "config", "ssm", "ecs-tasks", "elasticloadbalancing"]

# Event source, name, whether it only reads, how often, parameters, response. `$` are replaced by what is random.
CALLS = [
    ("s3", "GetObject", True, 300,
     {"bucketName": "$bucket", "Host": "$bucket.s3.$region.amazonaws.com", "key": "$key"}, None),
    ("s3", "PutObject", False, 90,
     {"bucketName": "$bucket",
      "Host": "$bucket.s3.$region.amazonaws.com",
      "key": "$key",
      "x-amz-server-side-encryption": "aws:kms",
      "x-amz-acl": "bucket-owner-full-control"},
     {"x-amz-server-side-encryption": "aws:kms",
      "x-amz-server-side-encryption-aws-kms-key-id": "$kms",
      "x-amz-version-id": "$b32"}),
    ("s3", "HeadObject", True, 60,
     {"bucketName": "$bucket", "Host": "$bucket.s3.$region.amazonaws.com", "key": "$key"}, None),
    ("s3", "ListObjects", True, 40,
     {"list-type": "2",
      "bucketName": "$bucket",
      "Host": "$bucket.s3.$region.amazonaws.com",
      "prefix": "reports/",
      "max-keys": "1000"},
     None),
    ("kms", "Decrypt", True, 160,
     {"encryptionContext": {"aws:s3:arn": "arn:aws:s3:::$bucket/$key"}, "encryptionAlgorithm": "SYMMETRIC_DEFAULT"},
     None),
    ("kms", "GenerateDataKey", True, 60,
     {"keySpec": "AES_256", "encryptionContext": {"aws:s3:arn": "arn:aws:s3:::$bucket"}, "keyId": "$kms"}, None),
    ("sts", "AssumeRole", True, 120,
     {"roleArn": "arn:aws:iam::$account:role/$role", "roleSessionName": "$session", "durationSeconds": 3600},
     {"credentials": {"accessKeyId": "ASIA$key16",
                      "sessionToken": "$token",
                      "expiration": "Jan 15, 2026, 9:00:00 AM"},
      "assumedRoleUser": {"assumedRoleId": "AROA$key16:$session",
                          "arn": "arn:aws:sts::$account:assumed-role/$role/$session"}}),
    ("sts", "GetCallerIdentity", True, 30, None, None),
    ("ec2", "DescribeInstances", True, 70,
     {"instancesSet": {"items": [{"instanceId": "i-0$hex16"}]}, "filterSet": {}}, None),
    ("ec2", "DescribeVolumes", True, 20,
     {"volumeSet": {}, "filterSet": {"items": [{"name": "tag:Name", "valueSet": {"items": [{"value": "$role"}]}}]}},
     None),
    ("ec2", "CreateNetworkInterface", False, 8,
     {"subnetId": "subnet-0$hex16",
      "description": "AWS Lambda VPC ENI-$role",
      "groupSet": {"items": [{"groupId": "sg-0$hex16"}]}},
     {"requestId": "$uuid",
      "networkInterface": {"networkInterfaceId": "eni-0$hex16",
                           "privateIpAddress": "10.0.$byte.$byte",
                           "status": "pending",
                           "ownerId": "$account"}}),
    ("dynamodb", "GetItem", True, 60,
     {"tableName": "orders-$small", "key": {"pk": "HIDDEN_DUE_TO_SECURITY_REASONS"}, "consistentRead": False},
     None),
    ("lambda", "Invoke", False, 60,
     {"functionName": "arn:aws:lambda:$region:$account:function:worker-$small", "invocationType": "Event"}, None),
    ("iam", "ListRoles", True, 10, {"maxItems": 1000}, None),
    ("iam", "GetRole", True, 25, {"roleName": "$role"}, None),
    ("logs", "CreateLogStream", False, 40,
     {"logGroupName": "/aws/lambda/worker-$small", "logStreamName": "2026/01/15/[$LATEST]$uuid"}, None),
    ("ssm", "UpdateInstanceInformation", False, 50,
     {"instanceId": "i-0$hex16",
      "agentVersion": "3.2.2222.0",
      "platformType": "Linux",
      "iPAddress": "10.0.$byte.$byte"},
     None),
    ("secretsmanager", "GetSecretValue", True, 10,
     {"secretId": "arn:aws:secretsmanager:$region:$account:secret:db-$small-AbCdEf"}, None),
    ("config", "PutEvaluations", False, 10, None, None),
    ("ecr", "BatchGetImage", True, 15,
     {"registryId": "$account",
      "repositoryName": "team/service-$small",
      "imageIds": [{"imageDigest": "sha256:$hex64"}]},
     None),
    ("signin", "ConsoleLogin", False, 0.3, None, {"ConsoleLogin": "Success"}),
    ("cloudtrail", "StopLogging", False, 0.03, {"name": "organisation-trail"}, None),
]
DATA_EVENTS = {"GetObject", "PutObject", "HeadObject", "ListObjects", "GetItem", "Invoke"}


def skewed(many):
    """The first are the frequent ones."""
    return list(itertools.accumulate(1 / (n + 3) for n in range(many)))


class World:
    def __init__(self, seed):
        self.rng = rng = random.Random(seed)
        names = ["ada", "ben", "eva", "kim", "leo", "mia", "noa", "tom"]
        self.accounts = [f"{rng.randrange(10**11, 10**12)}" for _ in range(5)]
        self.addresses = [".".join(str(rng.randrange(1, 224)) for _ in range(4)) for _ in range(4000)]
        self.buckets = [f"acme-{name}-{n}" for n in range(8) for name in ("data", "logs", "artifacts", "backup", "web")]
        self.roles = [f"{name}-{n}" for n in range(20) for name in ("Engineer", "deploy", "worker", "reader", "etl")]
        self.people = [f"{rng.choice(names)}.{rng.randrange(10**4)}@example.com" for _ in range(300)]
        pools = (self.addresses, self.buckets, self.roles, self.people, AGENTS)
        self.skew = {len(pool): skewed(len(pool)) for pool in pools}
        self.weights = list(itertools.accumulate(call[3] for call in CALLS))
        self.calls = [(call, *(text_of(part) for part in call[4:])) for call in CALLS]

    def one(self, pool):
        return self.rng.choices(pool, cum_weights=self.skew[len(pool)])[0]

    def session(self, account):
        """One that makes many calls: who, from where, with what."""
        rng = self.rng
        kind = rng.random()
        if kind < 0.12:
            service = rng.choice(SERVICES) + ".amazonaws.com"
            return {"type": "AWSService", "invokedBy": service}, service, service
        is_person, role = kind < 0.5, self.one(self.roles)
        session = self.one(self.people) if is_person else f"i-0{rng.getrandbits(64):016x}"
        address = self.one(self.addresses) if is_person else f"10.{rng.randrange(4)}.{rng.randrange(256)}.7"
        issuer = f"AROA{random.Random(account + role).getrandbits(80):020X}"[:21]
        at = f"2026-01-15T{rng.randrange(24):02}:{rng.randrange(60):02}:{rng.randrange(60):02}Z"
        identity = {
            "type": "AssumedRole",
            "principalId": f"{issuer}:{session}",
            "arn": f"arn:aws:sts::{account}:assumed-role/{role}/{session}",
            "accountId": account,
            "accessKeyId": f"ASIA{rng.getrandbits(80):020X}"[:20],
            "sessionContext": {
                "sessionIssuer": {
                    "type": "Role",
                    "principalId": issuer,
                    "arn": f"arn:aws:iam::{account}:role/{role}",
                    "accountId": account,
                    "userName": role,
                },
                "attributes": {"creationDate": at, "mfaAuthenticated": "true" if kind < 0.4 else "false"},
            },
        }
        return identity, address, self.one(AGENTS)

    def filled(self, text, account, region):
        """The value of a text whose marks are replaced by what is random."""
        rng = self.rng
        makers = {
            "$bucket": lambda: self.one(self.buckets),
            "$key16": lambda: f"{rng.getrandbits(64):016X}",
            "$key": lambda: f"reports/2026/01/15/{rng.randrange(1000):03}/part-{rng.getrandbits(52):013x}.parquet",
            "$region": lambda: region,
            "$account": lambda: account,
            "$role": lambda: self.one(self.roles),
            "$session": lambda: f"session-{rng.randrange(10**6)}",
            "$kms": lambda: self.encryption_key(account, region),
            "$b32": lambda: f"{rng.getrandbits(128):032x}",
            "$hex16": lambda: f"{rng.getrandbits(64):016x}",
            "$hex64": lambda: f"{rng.getrandbits(256):064x}",
            "$uuid": lambda: uuid(rng),
            "$byte": lambda: str(rng.randrange(256)),
            "$small": lambda: str(rng.randrange(30)),
            "$token": lambda: f"{rng.getrandbits(1200):0300x}",
        }
        for mark, make in makers.items():
            if mark in text:
                text = text.replace(mark, make())
        return json.loads(text)

    def encryption_key(self, account, region):
        return f"arn:aws:kms:{region}:{account}:key/1234abcd-12ab-34cd-56ef-{self.rng.randrange(20):012}"

    def event(self, second, account, region, sessions):
        rng = self.rng
        (source, name, reads, *_), parameters, response = rng.choices(self.calls, cum_weights=self.weights)[0]
        identity, address, agent = rng.choice(sessions)
        is_data, is_s3 = name in DATA_EVENTS, source == "s3"
        parameters = self.filled(parameters, account, region)
        event = {
            "eventVersion": "1.09" if is_s3 else "1.08",
            "userIdentity": identity,
            "eventTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second)),
            "eventSource": f"{source}.amazonaws.com",
            "eventName": name,
            "awsRegion": region,
            "sourceIPAddress": address,
            "userAgent": agent,
            "requestParameters": parameters,
            "responseElements": self.filled(response, account, region),
        }
        if rng.random() < 0.003:
            message = f"User is not authorized to perform: {source}:{name}"
            event |= {"errorCode": "AccessDenied", "errorMessage": message, "responseElements": None}
        if is_s3:
            bucket = f"arn:aws:s3:::{parameters['bucketName']}"
            event["additionalEventData"] = {
                "SignatureVersion": "SigV4",
                "CipherSuite": "TLS_AES_128_GCM_SHA256",
                "bytesTransferredIn": 0,
                "AuthenticationMethod": "AuthHeader",
                "x-amz-id-2": f"{rng.getrandbits(304):076x}",
                "bytesTransferredOut": rng.randrange(10**6),
            }
            event["resources"] = [
                {"type": "AWS::S3::Object", "ARN": f"{bucket}/{parameters.get('key', '')}"},
                {"accountId": account, "type": "AWS::S3::Bucket", "ARN": bucket},
            ]
        if source == "kms":
            key = self.encryption_key(account, region)
            event["resources"] = [{"accountId": account, "type": "AWS::KMS::Key", "ARN": key}]
        event |= {
            "requestID": f"{rng.getrandbits(64):016X}" if is_s3 else uuid(rng),
            "eventID": uuid(rng),
            "readOnly": reads,
            "eventType": "AwsApiCall",
            "managementEvent": not is_data,
            "recipientAccountId": account,
            "eventCategory": "Data" if is_data else "Management",
        }
        if rng.random() < 0.1:
            event["sharedEventID"] = uuid(rng)
        if not address.endswith(".amazonaws.com"):
            host = f"{source}.{region}.amazonaws.com"
            suite = "TLS_AES_128_GCM_SHA256"
            event["tlsDetails"] = {"tlsVersion": "TLSv1.3", "cipherSuite": suite, "clientProvidedHostHeader": host}
        return event


def text_of(value):
    return json.dumps(value, separators=(",", ":"))


def uuid(rng):
    text = f"{rng.getrandbits(128):032x}"
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--objects", type=int, default=150)
    parser.add_argument("--events", type=int, default=1000, help="in each object")
    parser.add_argument("--days", type=int, default=1)
    parser.add_argument("--seed", type=int, default=7)
    asked = parser.parse_args()
    os.makedirs(asked.folder, exist_ok=True)
    world, rng = World(asked.seed), random.Random(asked.seed)
    begin, span = 1_768_435_200, 86_400 * asked.days  # 2026-01-15
    for n in range(asked.objects):
        account, region = rng.choice(world.accounts), rng.choice(REGIONS)
        first = begin + n * span // asked.objects
        sessions = [world.session(account) for _ in range(60)]
        seconds = sorted(first + rng.randrange(min(300, span - (first - begin))) for _ in range(asked.events))
        events = [world.event(second, account, region, sessions) for second in seconds]
        name = f"{account}_CloudTrail_{region}_{time.strftime('%Y%m%dT%H%MZ', time.gmtime(first))}_{n:06}.json.gz"
        with open(os.path.join(asked.folder, name), "wb") as file:
            file.write(gzip.compress(text_of({"Records": events}).encode(), 6, mtime=0))


if __name__ == "__main__":
    main()
